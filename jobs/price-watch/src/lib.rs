//! Asks several shops at once what a product costs.
//!
//! The calls are made side by side, and each once, however many workers ask for it. A shop that does not answer is a value like any
//! other, and the same for all who execute this.

use std::collections::BTreeMap;

use manyhands::{Fault, call_all};
use serde::{Deserialize, Serialize};

/// A product to look for.
#[derive(Debug, Clone, Deserialize)]
pub struct Watch {
    /// The product's number: letters, digits, `_` and `-`.
    pub product: String,
    /// Whom to ask, up to 64; as the product's number.
    pub shops: Vec<String>,
    /// What it may cost, in cents.
    pub cents_max: u64,
}

/// What the shops say.
#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    /// As in the input.
    pub product: String,
    /// The cheapest that is in stock; of two that are equally cheap, the one that was named first.
    pub best: Option<Offer>,
    /// Whether that is cheap enough.
    pub buy: bool,
    /// Who gave no price, and why.
    pub silent: BTreeMap<String, Fault>,
}

/// One shop's offer.
#[derive(Debug, PartialEq, Serialize)]
pub struct Offer {
    /// The shop.
    pub shop: String,
    /// The price in cents.
    pub cents: u64,
}

/// What is put into the verb `price`.
#[derive(Serialize)]
struct Question<'a> {
    shop: &'a str,
    product: &'a str,
}

/// What comes back.
#[derive(Deserialize)]
struct Price {
    cents: u64,
    in_stock: bool,
}

/// Asks all shops for one product.
#[manyhands::job]
pub fn watch(Watch { product, shops, cents_max }: Watch) -> Report {
    let questions = shops.iter().map(|shop| ("price", Question { shop, product: &product }));
    let prices: Vec<Result<Price, Fault>> = call_all(questions);

    let mut best: Option<Offer> = None;
    let mut silent = BTreeMap::new();
    for (shop, price) in shops.iter().zip(prices) {
        match price {
            Ok(Price { cents, in_stock }) => {
                if in_stock && best.as_ref().is_none_or(|best| cents < best.cents) {
                    best = Some(Offer { shop: shop.clone(), cents });
                }
            }
            Err(fault) => drop(silent.insert(shop.clone(), fault)),
        }
    }
    let buy = best.as_ref().is_some_and(|best| best.cents <= cents_max);
    Report { product, best, buy, silent }
}

#[cfg(test)]
mod tests {
    use manyhands::testing::with_calls;

    use super::*;

    /// Shops that charge what their names say, `empty` which has nothing, and `closed`.
    fn shops(_: &str, slots: &str) -> Result<String, Fault> {
        let shop = slots.split('"').nth(3).expect("the first slot");
        match shop.parse::<u64>() {
            Ok(cents) => Ok(format!(r#"{{"cents":{cents},"in_stock":true}}"#)),
            Err(_) if shop == "empty" => Ok(r#"{"cents":1,"in_stock":false}"#.into()),
            Err(_) => Err(Fault::TimedOut),
        }
    }

    fn asked(shops_: &[&str], cents_max: u64) -> Report {
        let shops_ = shops_.iter().map(|shop| (*shop).to_owned()).collect();
        with_calls(shops, || watch(Watch { product: "lamp".into(), shops: shops_, cents_max }))
    }

    #[test]
    fn the_cheapest_that_is_in_stock_is_best() {
        let report = asked(&["1999", "empty", "1499", "1499", "closed"], 1500);
        let best = Some(Offer { shop: "1499".into(), cents: 1499 });
        let silent = BTreeMap::from([("closed".to_owned(), Fault::TimedOut)]);
        assert_eq!(report, Report { product: "lamp".into(), best, buy: true, silent });
    }

    #[test]
    fn what_costs_too_much_is_not_bought() {
        assert!(asked(&["1500"], 1500).buy);
        assert!(!asked(&["1501"], 1500).buy);
        assert!(!asked(&["empty", "closed"], 1500).buy);
    }

    #[test]
    fn without_shops_nobody_is_asked() {
        let report = asked(&[], 1500);
        assert_eq!((report.best, report.silent.len()), (None, 0));
    }
}
