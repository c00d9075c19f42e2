//! The protocol over HTTP, through the router: what a client sends, what it gets.

mod fixture;
mod infer;
mod management;
mod metadata;
mod page;
