"""Standard corruptions of images, tables and text: pure functions of rows, a strength and a random generator."""
