"""Why a measurement may not be trusted: one function per check, by whom it is about."""
