// Buys credits for organisations that run low, with the JDBC driver. As many may run as there are servers: each alert
// buys once.
//
// A notification only says that there is something to look at. What is to be done is in the table, so one that was
// missed is made up for at the next look, and the alert's id is the key that both the payment and the grant are made
// with.

import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;

public class TopUp {
    static final long PACKAGE = 1000;

    static final String LOW = "SELECT alert_id, org_id FROM credit_alert"
        + " WHERE kind = 'low_balance' AND closed_at IS NULL ORDER BY opened_at, org_id";

    static void buy(Connection connection, String alert, String org) throws SQLException {
        // Here the card is charged, with the same key for the payment provider.
        try (PreparedStatement grant = connection.prepareStatement(
                "SELECT replayed, balance_after FROM credit_grant(?, ?, ?, reason => 'top-up')")) {
            grant.setString(1, org);
            grant.setLong(2, PACKAGE);
            grant.setString(3, "top-up:" + alert);
            ResultSet row = grant.executeQuery();
            row.next();
            System.out.println(org + ": " + (row.getBoolean(1) ? "was topped up" : "bought " + PACKAGE)
                + ", balance " + row.getLong(2));
        }
    }

    static void watch() throws SQLException {
        try (Connection connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
             Statement statement = connection.createStatement()) {
            statement.execute("LISTEN credit_ledger_alert");    // first listen, then look: nothing falls in between
            while (true) {
                List<String[]> low = new ArrayList<>();
                ResultSet rows = statement.executeQuery(LOW);
                while (rows.next()) low.add(new String[] {rows.getString(1), rows.getString(2)});
                for (String[] alert : low) buy(connection, alert[0], alert[1]);
                connection.unwrap(PGConnection.class).getNotifications(60000);     // at the latest, look in a minute
            }
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        while (true) {
            try {
                watch();
            } catch (SQLException error) {
                System.out.println("again in a second: " + error.getMessage());
            }
            Thread.sleep(1000);
        }
    }
}
