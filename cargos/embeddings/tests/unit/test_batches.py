from archipelag_embeddings.answers import batches


def test_every_row_is_in_one_batch_and_no_batch_is_larger_than_its_bound() -> None:
    rows = [[0] * (1 + i * 37 % 256) for i in range(200)]

    made = list(batches(rows))

    assert sorted(i for batch in made for i in batch) == list(range(200))
    assert all(len(batch) * max(len(rows[i]) for i in batch) <= 2_048 for batch in made)


def test_rows_of_one_batch_are_of_like_length() -> None:
    rows = [[0] * 256, [0] * 2] * 16

    longest = [sorted({len(rows[i]) for i in batch}) for batch in batches(rows)]

    assert longest[0][0] == 2
    assert sum(len(lengths) > 1 for lengths in longest) <= 1
