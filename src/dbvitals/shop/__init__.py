"""A small web shop with the mistakes that real services make: what ``dbvitals demo`` runs."""
