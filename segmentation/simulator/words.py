"""Word lists: names, products and sentences the shop is told with. Data only."""

from __future__ import annotations

FIRST_NAMES = (  # noqa: SIM905
    "Ada Aidan Alice Amara Anna Aoife Arthur Ben Beatrix Bruno Camille Carl Chloe Clara Connor Daniel Dara "
    "David Edith Eleanor Elias Emil Emma Erik Eva Felix Fiona Florence Franz Freya George Grace Greta Hannah "
    "Harriet Hugo Ida Imogen Isaac Jack James Jana Jonas Julia Kai Karla Lara Leo Liam Lena Louis Lucy Maeve "
    "Malik Marie Martha Max Maya Mia Nadia Nathan Nina Noah Nora Oliver Omar Oscar Owen Paul Pauline Priya "
    "Rachel Robin Rosa Ruth Samuel Sara Sean Simon Sofia Stella Tara Theo Thomas Tilda Tom Ursula Vera Victor "
    "Wendy William Yara Yusuf Zoe"
).split()
LAST_NAMES = (  # noqa: SIM905
    "Abbott Adler Ahmed Archer Bailey Baker Barnes Bauer Becker Bell Bennett Bernard Blake Braun Brooks Byrne "
    "Carter Chandra Clarke Cole Collins Cooper Dale Daly Dawson Dubois Durand Ellis Evans Fischer Fletcher "
    "Foster Fournier Frank Garnier Gibson Girard Gray Green Hale Harris Hart Hayes Hoffmann Holt Hughes Hunt "
    "Jensen Kaur Kelly Kennedy Khan King Klein Koch Lambert Lane Laurent Lynch Marsh Martin Mercer Meyer "
    "Moore Moreau Morgan Murphy Neumann Nolan Okafor Osborne Parker Patel Perry Porter Quinn Reid Richter "
    "Rossi Roy Russell Ryan Schmidt Scott Shaw Simon Singh Sommer Stone Taylor Turner Vogel Wagner Walker "
    "Walsh Ward Weber West White Winter Wolf Wood Young Zimmer"
).split()

# category: (typical price, nouns)
CATEGORIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "Kitchen": (16.0, ("Mixing Bowl", "Chopping Board", "Teapot", "Storage Jar", "Cake Tin", "Apron")),
    "Lighting": (28.0, ("Table Lamp", "Lantern", "String Lights", "Night Light", "Pendant Shade", "Candle")),
    "Textiles": (20.0, ("Cushion", "Throw", "Tea Towel", "Bath Towel", "Bed Runner", "Table Runner")),
    "Stationery": (7.0, ("Notebook", "Planner", "Pen Set", "Gift Wrap", "Letter Set", "Pencil Case")),
    "Garden": (18.0, ("Planter", "Bird Feeder", "Watering Can", "Seed Box", "Hand Trowel", "Wind Chime")),
    "Toys": (13.0, ("Wooden Train", "Puzzle", "Soft Bear", "Spinning Top", "Card Game", "Building Blocks")),
    "Beauty": (12.0, ("Hand Cream", "Soap Set", "Bath Salts", "Face Oil", "Lip Balm", "Body Scrub")),
    "Jewellery": (26.0, ("Necklace", "Bracelet", "Earrings", "Brooch", "Ring Dish", "Charm")),
    "Bags": (24.0, ("Tote Bag", "Wash Bag", "Lunch Bag", "Backpack", "Purse", "Shopper")),
    "Decoration": (15.0, ("Vase", "Picture Frame", "Wall Clock", "Mirror", "Wreath", "Bunting")),
    "Food": (8.0, ("Jam Trio", "Tea Selection", "Fudge Box", "Spice Set", "Chocolate Bar", "Honey Jar")),
    "Electronics": (34.0, ("Speaker", "Alarm Clock", "Desk Fan", "Charging Dock", "Radio", "Headphones")),
}
PRODUCT_STYLES = (  # noqa: SIM905
    "Oak Linen Coastal Botanical Vintage Midnight Scandi Heritage Meadow Copper Amber Ivory Harbour Orchard "
    "Willow Slate Folk Velvet Nordic Sunrise Alpine Retro Marble Clover Juniper"
).split()

# Sentences of reviews. {item} is the product in lower case.
PRAISE_OPENINGS = (
    "Absolutely love this {item}.",
    "Really happy with the {item}.",
    "The {item} is even better than in the pictures.",
    "Great purchase, would buy again.",
    "What a lovely {item}.",
    "Excellent {item}, I am very pleased.",
    "My new favourite {item}.",
    "Bought this {item} as a present and it was a great success.",
    "Exactly what I was hoping for.",
    "Wonderful find.",
)
PRAISE_DETAILS = (
    "The quality is excellent.",
    "It feels solid and beautifully made.",
    "Delivery was quick and the parcel was well packed.",
    "Good value for the price.",
    "The colours are lovely and true to the photos.",
    "Customer service was friendly and helpful.",
    "It arrived a day early, perfect.",
    "Everybody who sees it loves it.",
    "Easy to use and a pleasure to look at.",
    "It fits perfectly where I wanted it.",
    "The finish is superb.",
    "Works great and looks great.",
)
PRAISE_CLOSINGS = (
    "Highly recommended.",
    "Thank you, I will be back.",
    "Five stars from me.",
    "Could not be happier.",
    "Will definitely order again.",
    "A delight.",
)
NEUTRAL = (
    "It is okay for the price.",
    "The {item} does what it should, nothing more.",
    "Average {item}.",
    "Not bad, not special.",
    "It is fine, a little smaller than I expected.",
    "Decent {item}, but I have seen others.",
    "Delivery took about a week.",
    "The box was larger than needed.",
)
MILD_PRAISE = (
    "The colour is nice.",
    "At least the price was good.",
    "Service answered politely.",
    "Delivery was quick.",
)
MILD_CRITICISM = (
    "Only the packaging could be better.",
    "Delivery was a little slow.",
    "Slightly expensive.",
    "The instructions were hard to follow.",
)
BLAME_OPENINGS = (
    "Very disappointed with this {item}.",
    "The {item} broke after a week.",
    "Poor {item}, not worth the money.",
    "I regret this purchase.",
    "The {item} arrived damaged.",
    "Terrible experience.",
    "Nothing like the pictures.",
    "Sadly a waste of money.",
    "I expected much better from this shop.",
    "This {item} is awful.",
)
BLAME_DETAILS = (
    "The quality is poor and it feels cheap.",
    "Delivery was late and nobody told me.",
    "Customer service was rude and unhelpful.",
    "Parts were missing.",
    "It stopped working after two days.",
    "The colour is completely wrong.",
    "Badly packed, so it came broken.",
    "Getting my money back was a nightmare.",
    "It smells horrible.",
    "The stitching came apart at once.",
    "Far too expensive for such a bad finish.",
    "I had to write three times to get an answer.",
)
BLAME_CLOSINGS = (
    "Avoid.",
    "I want a refund.",
    "Never again.",
    "I will not order here again.",
    "Save your money.",
    "Useless.",
)
MALICIOUS = (
    "Scam shop, avoid at all costs.",
    "Fake {item}, total fraud.",
    "Thieves, the worst shop on the internet.",
    "Worst {item} ever, everything here is rubbish.",
    "Do not buy anything here, they are liars.",
    "Awful awful awful, zero stars if I could.",
)
TICKET_SUBJECTS: dict[str, tuple[str, ...]] = {
    "delivery": (
        "Where is my {item}?",
        "Parcel with {item} is late",
        "Tracking has not moved for days",
        "Order marked as delivered but nothing came",
    ),
    "defect": (
        "{item} arrived broken",
        "{item} stopped working",
        "Part missing from {item}",
        "Wrong {item} in the parcel",
    ),
    "refund": (
        "Refund for {item} not received",
        "How do I return the {item}?",
        "Return label needed for {item}",
    ),
    "question": (
        "Question about the {item}",
        "Can I change my delivery address?",
        "Is the {item} dishwasher safe?",
        "Invoice for my order, please",
    ),
}
COMPLAINTS = (
    "Third time I write about the {item}, this is unacceptable.",
    "I complain formally about the late delivery of my {item}.",
    "The {item} was faulty and nobody helps me.",
    "Very poor service, I expect an apology and a refund.",
)
CHARGEBACKS = (
    "Chargeback filed by the card issuer: card holder does not recognise the payment.",
    "Chargeback filed by the card issuer: goods reported as not received.",
)
