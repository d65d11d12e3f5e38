//! Which settings hold: flags over environment over file over defaults.
