//! Sealed modules with less stack than a job has, so that many places of a job find it used up, and not only those of one that recurses.

use anyhow::{Context as _, bail};
use manyhands_abi::METER;
use wasmparser::{ExternalKind, Operator, Parser, Payload};

/// The sealed module with so many units of stack, 16 bytes each: another number in the meter's first value, and the same in all else.
///
/// # Errors
/// The module is not sealed.
pub fn with_stack(sealed: &[u8], units: u16) -> anyhow::Result<Vec<u8>> {
    let (mut globals, mut meter) = (Vec::new(), None);
    for payload in Parser::new(0).parse_all(sealed) {
        match payload? {
            Payload::GlobalSection(section) => {
                for global in section {
                    let mut operators = global?.init_expr.get_operators_reader();
                    let from = operators.original_position();
                    let first = operators.read()?;
                    globals.push((first, from..operators.original_position()));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Global && export.name == METER {
                        meter = Some(export.index as usize);
                    }
                }
            }
            _ => {}
        }
    }
    // Nothing but functions can be imported, so these are all.
    let meter = meter.and_then(|index| globals.get(index)).context("the module has no meter")?;
    let (Operator::I64Const { value }, place) = meter else { bail!("the meter is no number") };
    if i64::from(units) >= *value {
        bail!("{units} units of stack are not less than {value}");
    }
    let mut module = sealed.to_vec();
    // As many bytes as before: a number may be written longer than it has to be.
    let digits = &mut module[place.start + 1..place.end];
    let last = digits.len() - 1;
    for (number, digit) in digits.iter_mut().enumerate() {
        let bits = (u64::from(units) >> (7 * number) & 0x7f) as u8;
        *digit = if number == last { bits } else { bits | 0x80 };
    }
    Ok(module)
}
