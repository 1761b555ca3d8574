-- What a receiver is to be told next is marked, and how much waits is counted: looking for either
-- costs the same however much waits.

ALTER TABLE webhook_deliveries ADD COLUMN is_head INTEGER NOT NULL DEFAULT 0 CHECK (is_head IN (0, 1));
                                                            -- 1: the oldest of its lane
UPDATE webhook_deliveries SET is_head = 1 WHERE NOT EXISTS (
    SELECT 1 FROM webhook_deliveries older WHERE older.webhook_id = webhook_deliveries.webhook_id
    AND older.lane = webhook_deliveries.lane AND older.event_id < webhook_deliveries.event_id);

CREATE INDEX webhook_deliveries_heads ON webhook_deliveries (webhook_id, next_try_at_ms, event_id)
    WHERE is_head = 1;

ALTER TABLE webhooks ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0; -- events
UPDATE webhooks SET waiting = (
    SELECT count(*) FROM webhook_deliveries WHERE webhook_id = webhooks.id);

CREATE TRIGGER webhook_delivery_waits AFTER INSERT ON webhook_deliveries BEGIN
    UPDATE webhooks SET waiting = waiting + 1 WHERE id = NEW.webhook_id;
END;

CREATE TRIGGER webhook_delivery_waits_no_more AFTER DELETE ON webhook_deliveries BEGIN
    UPDATE webhooks SET waiting = waiting - 1 WHERE id = OLD.webhook_id;
END;
