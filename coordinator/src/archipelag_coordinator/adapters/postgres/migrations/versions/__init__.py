"""Revisions: `pre_` ones are safe before the new code starts, `post_` ones only after the old code has gone."""
