"""Many runs that differ in variant, seed or one setting, judged alike and put into one table."""
