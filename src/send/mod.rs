//! What a request says, what an answer means, and how long to wait before the next try.
