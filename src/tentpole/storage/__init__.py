"""Files that are whole or not there: atomic writes, labels, structures, the journal, the lock."""
