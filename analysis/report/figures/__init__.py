"""The figures of a report: plain data in plotly's own schema, one idea a file; pure, and without plotly."""
