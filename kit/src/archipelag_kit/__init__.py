"""What a Cargo's author uses: a kit to write one, and the commands that build, test, sign and submit it."""
