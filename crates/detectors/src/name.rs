//! What the name of a field says about its values.

/// What stands in a field, if it is what its name says. Values are still looked at: a `token` may be a word, an `address` a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Named {
    /// Anything.
    #[default]
    Nothing,
    /// A telephone number.
    Phone,
    /// A payment card's number.
    Card,
    /// A person's name.
    Person,
    /// A name of somebody or something.
    Name,
    /// A postal address.
    Address,
    /// A date of birth.
    Birth,
    /// A password.
    Password,
    /// A key or token of an API.
    Key,
    /// The same, or a word, an index, a digest.
    MaybeKey,
}

/// Behind the word that counts, these say only which or how.
const QUALIFIERS: &[&str] = &[
    "number",
    "no",
    "nr",
    "num",
    "digits",
    "value",
    "str",
    "string",
    "text",
    "raw",
    "home",
    "work",
    "private",
    "office",
    "primary",
    "secondary",
    "main",
    "alt",
    "new",
    "old",
];

/// Before `name`, these say that it is a person's.
const PEOPLE: &[&str] = &[
    "first",
    "last",
    "given",
    "family",
    "middle",
    "maiden",
    "full",
    "real",
    "customer",
    "client",
    "patient",
    "contact",
    "recipient",
    "sender",
    "employee",
    "student",
    "passenger",
    "person",
    "guest",
    "applicant",
    "borrower",
    "beneficiary",
    "billing",
    "shipping",
    "holder",
    "cardholder",
];

/// Before `address`, these say that it is none where people live.
const MACHINES: &[&str] = &[
    "ip", "ipv4", "ipv6", "mac", "email", "mail", "web", "url", "wallet", "contract", "token", "bitcoin", "btc", "eth",
    "memory", "base", "start", "end", "virtual", "physical", "host", "server", "remote", "local", "bind", "listen",
    "http", "network", "net",
];

/// Before `token` or `key`, these say that it opens nothing: it marks a place, or names something.
const MARKS: &[&str] = &[
    "next",
    "page",
    "pagination",
    "continuation",
    "cursor",
    "sync",
    "purchase",
    "idempotency",
    "client",
    "public",
    "partition",
    "sort",
    "primary",
    "foreign",
    "cache",
    "map",
    "tag",
    "condition",
    "registry",
];

impl Named {
    /// By the name of a field, however its words are joined.
    pub(crate) fn of(name: &str) -> Self {
        let mut words = words(name);
        while words.len() > 1
            && words
                .last()
                .is_some_and(|last| QUALIFIERS.contains(&&**last) || last.bytes().all(|b| b.is_ascii_digit()))
        {
            words.pop();
        }
        let Some((last, before)) = words.split_last() else { return Self::Nothing };
        let before = before.last().map_or("", String::as_str);
        // `emails` are as much as `email`; `address` has its own.
        let last = last.strip_suffix('s').filter(|one| !one.ends_with('s')).unwrap_or(last);
        let both = format!("{before}{last}");
        match both.as_str() {
            "phonenumber" | "telephonenumber" | "mobilenumber" | "faxnumber" | "cellphone" => return Self::Phone,
            "cardnumber" | "creditcard" | "debitcard" | "ccnumber" | "ccnum" | "paymentcard" => return Self::Card,
            "nameoncard" => return Self::Person,
            "birthdate" | "dateofbirth" | "ofbirth" | "birthday" => return Self::Birth,
            "apikey" | "apisecret" | "secretkey" | "accesskey" | "privatekey" | "clientsecret" | "accesstoken"
            | "refreshtoken" | "authtoken" | "bearertoken" | "sessiontoken" | "idtoken" | "apitoken" => {
                return Self::Key;
            }
            _ => {}
        }
        match last {
            "phone" | "telephone" | "tel" | "mobile" | "cell" | "fax" | "msisdn" | "phonenumber" => Self::Phone,
            "cardnumber" | "creditcard" | "card" | "pan" | "cc" => Self::Card,
            "firstname" | "lastname" | "surname" | "forename" | "givenname" | "familyname" | "fullname"
            | "cardholder" => Self::Person,
            "name" if PEOPLE.contains(&before) => Self::Person,
            "name" if before.is_empty() => Self::Name,
            "address" | "addresse" | "addr" if MACHINES.contains(&before) => Self::Nothing,
            "address" | "addresse" | "addr" | "street" | "streetaddress" | "postaladdress" | "homeaddress" => {
                Self::Address
            }
            // `addressLine1` and its like.
            "line" if matches!(before, "address" | "addr" | "street") => Self::Address,
            "dob" | "birthdate" | "birthday" | "dateofbirth" => Self::Birth,
            "password" | "passwd" | "passphrase" => Self::Password,
            "secret" | "apikey" | "accesstoken" | "credential" | "authorization" => Self::Key,
            "token" | "key" if MARKS.contains(&before) => Self::Nothing,
            "token" | "key" | "auth" => Self::MaybeKey,
            _ => Self::Nothing,
        }
    }
}

/// The words of a name, in lower case: `firstName`, `FIRST_NAME` and `first-name` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    let mut chars = name.chars().take(100).peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            (begins, previous) = (true, c);
            continue;
        }
        // `IPAddress` is two: the last of several capitals belongs to what follows it.
        let next = chars.peek().copied().unwrap_or(' ');
        let hump = c.is_uppercase() && (!previous.is_uppercase() || next.is_lowercase());
        // `phone2` is two, `ipv4Address` is `ipv4` and `address`.
        let number = c.is_ascii_digit() && previous.is_alphabetic() && !next.is_alphabetic();
        match words.last_mut() {
            Some(word) if !begins && !hump && !number => word.extend(c.to_lowercase()),
            _ => words.push(c.to_lowercase().collect()),
        }
        (begins, previous) = (false, c);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_however_they_are_joined() {
        for (name, expected) in [
            ("firstName", "first name"),
            ("FIRST_NAME", "first name"),
            ("first-name", "first name"),
            ("IPAddress", "ip address"),
            ("addressLine1", "address line 1"),
            ("ipv4Address", "ipv4 address"),
            ("Straße", "straße"),
            ("", ""),
            ("--", ""),
        ] {
            assert_eq!(words(name).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn names_say_what_stands_there() {
        for (names, expected) in [
            (
                "phone phones phoneNumber home_phone phone_home phone2 mobile tel customer.phone cellPhone fax",
                Named::Phone,
            ),
            ("card cardNumber card_no creditCard pan cc", Named::Card),
            ("firstName last_name surname full_name customer-name maidenName contactName cardholder", Named::Person),
            ("name names Name", Named::Name),
            (
                "address addresses homeAddress home_address billing_address street street_address addressLine1 addr",
                Named::Address,
            ),
            ("dob birthDate birth_date date_of_birth dateOfBirth birthday", Named::Birth),
            ("password user_password passwd passphrase", Named::Password),
            ("apiKey api_key client_secret accessToken private_key Authorization credentials secret", Named::Key),
            ("token key auth csrf-token signingKey", Named::MaybeKey),
            (
                "ip_address IPAddress macAddress email_address walletAddress memoryAddress file_name userName username \
                 product_name phoneModel phone_count cardinality discard birthplace keyboard compass passed tokens_used \
                 next_token sortKey auth_public_key zip_code city country latitude rename telemetry cancel",
                Named::Nothing,
            ),
        ] {
            for name in names.split_whitespace() {
                assert_eq!(Named::of(name), expected, "{name}");
            }
        }
    }
}
