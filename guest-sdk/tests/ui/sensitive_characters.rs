use manyhands::token::{Email, Joinable, Name, Token};

fn look(one: Token<Email>, other: Token<Email>) -> bool {
    println!("{one}");
    let letter = manyhands::draft!("Dear {one}");
    letter.len();
    one == other
}

fn before(one: Joinable<Name>, other: Joinable<Name>) -> bool {
    one < other
}

fn main() {}
