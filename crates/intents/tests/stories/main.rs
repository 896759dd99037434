//! From requests to what jobs hear, and everything that somebody who means harm could try in between.

mod answers;
mod budgets;
mod filling;
mod journals;
mod plans;
mod requests;
mod world;
