"""Items: cut from the whole where they were joined, and put together from pieces that overlap."""

from archipelag_coordinator.domain.items import Items, cut, cuts_of, joined
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.lists(st.text(max_size=300), max_size=50)


@given(TEXTS)
def test_what_was_joined_is_cut_into_the_same_texts(texts):
    assert cut("".join(texts), cuts_of(texts)) == texts


@given(TEXTS, st.text(min_size=1))
def test_what_the_cuts_leave_over_is_not_lost(texts, rest):
    found = cut("".join(texts) + rest, cuts_of(texts))

    assert "".join(found) == "".join(texts) + rest
    assert len(found) == max(1, len(texts))


@given(TEXTS, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=10))
def test_pieces_that_overlap_are_the_whole_up_to_the_first_gap(texts, spans):
    tokens = tuple(range(len(texts)))
    pieces = [Items(at, tuple(texts[at : at + n]), tokens[at : at + n]) for at, n in spans]
    covered = {p for piece in pieces for p in range(piece.first, piece.next)}
    until = next(p for p in range(len(texts) + 1) if p not in covered)

    assert joined(pieces) == Items(0, tuple(texts[:until]), tokens[:until])
