"""From a YAML file to a definition, or to sentences that say what is wrong and where."""
