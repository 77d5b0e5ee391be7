"""Text out of pictures, with the place of each line."""
