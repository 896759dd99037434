#[derive(Debug)]
struct Mute;

#[manyhands::job]
fn double(n: u32) -> Result<u32, Mute> {
    n.checked_mul(2).ok_or(Mute)
}

fn main() {}
