"""Why a definition has its value for a profile, and until when. Pure."""
