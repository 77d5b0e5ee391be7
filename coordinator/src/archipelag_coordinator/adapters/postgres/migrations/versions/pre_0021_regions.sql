ALTER TABLE coordinators ADD COLUMN region text NOT NULL DEFAULT '';
