"""Classes as data: what they take, how they are checked, named, described and rebuilt."""
