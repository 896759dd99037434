#[manyhands::job]
fn answer() -> u32 {
    42
}

fn main() {}
