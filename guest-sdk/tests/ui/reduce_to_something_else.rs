#[manyhands::job(reduce = total)]
fn double(n: u32) -> u32 {
    n * 2
}

fn total(parts: Vec<u32>) -> String {
    parts.iter().sum::<u32>().to_string()
}

fn main() {}
