-- People look at their own Islands every few seconds; without this each look would read everybody's.
CREATE INDEX islands_owner ON islands (owner_id);
