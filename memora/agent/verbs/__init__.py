"""The verbs of the facade, a module for each kind; `memora.agent.main` puts them together."""
