"""Results as people and machines read them: words, tables, figures, pages, markdown, JUnit."""
