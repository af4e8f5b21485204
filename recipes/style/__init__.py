"""Pictures in the manner of a painting: the loss, the net and the pixel optimisation that three recipes share."""
