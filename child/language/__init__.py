"""Language models: how a recurrent cell becomes one, and how it is trained."""
