"""Drawing held-out scenes and scoring them."""
