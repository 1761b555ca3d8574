//! Client of pump.fun's livestream and coin API: typed, tolerant, polite.
