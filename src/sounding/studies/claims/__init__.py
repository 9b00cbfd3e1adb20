"""One claim a file: statement, source, criterion, measurement."""
