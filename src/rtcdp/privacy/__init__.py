"""Commands about one person: export, erasure, correction, a link taken back."""
