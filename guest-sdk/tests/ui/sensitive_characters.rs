use manyhands::token::{Email, Joinable, Name, Token};

fn look(one: Token<Email>, other: Token<Email>) -> bool {
    println!("{one}");
    one == other
}

fn sort(mut all: Vec<Joinable<Name>>) {
    all.sort();
}

fn main() {}
