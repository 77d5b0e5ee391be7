-- What is in the accounts so far stays where it is: the row of the account's own name is the first of its parts.

ALTER TABLE accounts ADD CONSTRAINT parts_of_platform_accounts
    CHECK (id NOT LIKE '%#%' OR id ~ '^platform:(fees|insurance)#(0[1-9]|1[0-5])$');

INSERT INTO accounts (id)
SELECT account || part
FROM unnest(ARRAY['platform:fees', 'platform:insurance']) AS account,
    unnest(ARRAY[''] || ARRAY(SELECT '#' || lpad(n::text, 2, '0') FROM generate_series(1, 15) AS n)) AS part
ON CONFLICT (id) DO NOTHING;

-- For people who ask: the books as everybody else sees them.
CREATE VIEW whole_accounts AS
SELECT split_part(id, '#', 1) AS id, sum(balance)::bigint AS balance, sum(held)::bigint AS held
FROM accounts GROUP BY split_part(id, '#', 1);
