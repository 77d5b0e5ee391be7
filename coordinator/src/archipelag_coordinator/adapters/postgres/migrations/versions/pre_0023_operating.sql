-- A row stays for good: what a link is joined by never expires.
CREATE TABLE links_taken_back (
    region text NOT NULL CHECK (region <> ''),
    number integer NOT NULL CHECK (number > 0),
    taken_back_at timestamptz NOT NULL,
    PRIMARY KEY (region, number)
);
CREATE INDEX audit_log_by_act ON audit_log (act, number DESC);
