"""The durable outbox: items on disk until every sink's other end has stored them (docs/design/delivery.md)."""
