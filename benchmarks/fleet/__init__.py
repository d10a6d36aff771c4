"""Three hundred nodes that speak to one control: what that costs, and how soon an edit is everywhere."""
