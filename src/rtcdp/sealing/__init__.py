"""Personal data encrypted at the border to Kafka: a data key per person, kept outside the log.

What lies in `profile-events` and the changelog is a keyed hash of the profile key, and a value sealed with AES-256-GCM that
only this person's data key opens. Erasing a person is destroying that key. Above the border nothing knows of it.
"""
