"""What Theano lacks or does slowly, behind small seams that the rest of the house does not look behind."""
