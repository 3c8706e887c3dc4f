"""What at least two experiments share: runs, tables, statistics, words, panels, pages. Knows no experiment and no torch."""
