"""The rules by which single units and small networks learn, written out, and the recipe that compares them."""
