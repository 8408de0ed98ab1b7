"""Studies: experiments that train models and measure them, each resumable in one folder."""
