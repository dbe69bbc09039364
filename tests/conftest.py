"""Being here, this file puts ``tests`` on the import path: the helpers in `support` are for all."""
