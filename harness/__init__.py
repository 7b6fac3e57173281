"""One trial, made to happen: specification, engine, supervision, records."""
