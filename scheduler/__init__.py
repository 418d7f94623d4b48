"""schedd: closed-loop experiments, from one YAML file to a tuned model."""
