"""Why a measurement may not be trusted: one function per check, by whom the doubt is about."""
