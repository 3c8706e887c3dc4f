"""What runs when: the plan of steps, what of it is up to date, who carries it out, what is published."""
