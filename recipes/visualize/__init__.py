"""What a network sees (Zeiler and Fergus 2014): the pieces, and the recipe that draws them."""
