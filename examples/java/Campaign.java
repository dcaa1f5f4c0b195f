// Sends a campaign and pays for it, with the JDBC driver: java -cp postgresql.jar Campaign.java CAMPAIGN
// May be started again whenever it ended, and twice at once: no mail is paid for twice.

import java.sql.*;

public class Campaign {
    interface Work<T> { T in(Connection connection) throws SQLException; }

    static Connection connection;

    // Runs work in a transaction, and again after what a new attempt may cure: others in the way, a lost connection.
    // What the ledger refuses (class LC) or cannot read (22) stays refused however often it is said.
    static <T> T inTransaction(Work<T> work) throws Exception {
        for (int attempt = 1; ; attempt++) {
            try {
                if (connection == null || connection.isClosed()) {
                    connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
                    connection.setAutoCommit(false);
                }
                T result = work.in(connection);
                connection.commit();
                return result;
            } catch (SQLException error) {
                boolean lost = error.getSQLState() != null && error.getSQLState().matches("08...|57P0[123]");
                boolean again = lost || "40001".equals(error.getSQLState()) || "40P01".equals(error.getSQLState());
                if (lost && connection != null) connection.close();
                else if (connection != null) connection.rollback();
                if (attempt == 5 || !again) throw error;
                Thread.sleep((long) (Math.random() * 50 * (1 << attempt)));
            }
        }
    }

    // The first row of a query's answer, or null; the values travel as text and are cast where that matters.
    static String[] row(Connection connection, String query, Object... arguments) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(query)) {
            for (int i = 0; i < arguments.length; i++) statement.setObject(i + 1, arguments[i]);
            if (!statement.execute()) return null;
            ResultSet result = statement.getResultSet();
            if (!result.next()) return null;
            String[] values = new String[result.getMetaData().getColumnCount()];
            for (int i = 0; i < values.length; i++) values[i] = result.getString(i + 1);
            return values;
        }
    }

    // Holds the credits and writes the mails to the outbox: both, or neither.
    static String submit(Connection c, String campaign) throws SQLException {
        String[] row = row(c, "SELECT org_id, cardinality(recipients) FROM campaigns"
            + " WHERE id = ? FOR UPDATE", campaign);
        String[] hold = row(c, "SELECT authorization_id, status FROM credit_authorize(?, ?, campaign_id => ?)",
            row[0], Long.parseLong(row[1]), campaign);
        if (hold[1].equals("authorized")) {     // a repetition tells what became of it: committed, or reverted
            row(c, "UPDATE campaigns SET status = 'sending', authorization_id = ? WHERE id = ?", hold[0], campaign);
            row(c, "INSERT INTO outbox (campaign_id, recipient) SELECT id, unnest(recipients) FROM campaigns"
                + " WHERE id = ? ON CONFLICT DO NOTHING", campaign);
        }
        return hold[1];
    }

    // Takes a mail that nobody else has taken. Its id makes a good Message-ID: a crash right here sends it again.
    static boolean deliverOne(Connection c, String campaign) throws SQLException {
        String[] mail = row(c, "SELECT id, recipient FROM outbox WHERE campaign_id = ? AND status = 'queued'"
            + " ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED", campaign);
        if (mail == null) return false;
        row(c, "UPDATE outbox SET status = ? WHERE id = ?", mail[1].startsWith("bounce") ? "bounced" : "sent",
            Long.parseLong(mail[0]));
        return true;
    }

    // Charges what was sent, together with the campaign's end. Whoever delivered the last mail does it.
    static String settle(Connection c, String campaign) throws SQLException {
        String[] row = row(c, "SELECT authorization_id FROM campaigns WHERE id = ? FOR UPDATE", campaign);
        String[] mails = row(c, "SELECT count(*) FILTER (WHERE status = 'sent'),"
            + " count(*) FILTER (WHERE status = 'queued'), count(*) FROM outbox WHERE campaign_id = ?", campaign);
        if (Long.parseLong(mails[1]) > 0) return "others are still sending";
        row(c, "UPDATE campaigns SET status = 'sent' WHERE id = ?", campaign);
        String[] left = row(c, "SELECT available FROM credit_commit(?, ?)", row[0], Long.parseLong(mails[0]));
        return mails[0] + " of " + mails[2] + " sent, " + left[0] + " credits left";
    }

    static String send(String campaign) throws Exception {
        try {
            String status = inTransaction(c -> submit(c, campaign));
            if (!status.equals("authorized")) return status + " already";
        } catch (SQLException error) {
            if (!"LC001".equals(error.getSQLState())) throw error;
            // The failed transaction is gone, and has used up no key: top up, start again.
            inTransaction(c -> row(c, "UPDATE campaigns SET status = 'unpaid' WHERE id = ?", campaign));
            return "not sent: " + ((org.postgresql.util.PSQLException) error).getServerErrorMessage().getMessage();
        }
        while (inTransaction(c -> deliverOne(c, campaign))) { }
        return inTransaction(c -> settle(c, campaign));
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(arguments[0] + ": " + send(arguments[0]));
    }
}
